"""What an evaluation leaves: tables, a page with plots and pictures, lines on a terminal."""
