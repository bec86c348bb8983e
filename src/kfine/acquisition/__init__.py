"""What a scan measured and what is restored from it: block of k-space, times, grid."""
