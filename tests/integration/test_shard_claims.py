"""A shard has one owner at a time: claims are unique, fenced, and leased by the database's clock."""
