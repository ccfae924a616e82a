"""Does a report's record say what it said: its document, its inputs, its model, and what comes of them again."""
