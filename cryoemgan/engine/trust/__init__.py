"""What ``audit`` puts in and what it measures on what comes out."""
