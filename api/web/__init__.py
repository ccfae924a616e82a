"""The reading room: pages for people, which ask the API as any client does."""
