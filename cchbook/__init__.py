"""The making of the book: data, runs and their records, chapters, publishing."""
