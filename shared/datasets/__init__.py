"""What a model learns from: labels -> truth of instances -> splits -> a frozen, content-addressed list."""
