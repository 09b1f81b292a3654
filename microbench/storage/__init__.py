"""What benchmarks of disks share: a folder to write in, and what memory holds of a file."""
