"""Dense networks and single neurons."""
