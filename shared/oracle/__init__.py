"""The oracle: says from the database and the content store alone whether anything was lost or done twice."""
