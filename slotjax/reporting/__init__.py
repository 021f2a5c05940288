"""What a report is made of: what a run wrote down, how it scores, what it sees, curves, and the page itself."""
