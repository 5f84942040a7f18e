"""From executed copies to pages: the book, slides, a PDF, interactive figures."""
