"""What makes the virtual environment, and what writes again the files that show what pagebook says."""
