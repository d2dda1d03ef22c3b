"""What `modelry doctor` looks at, a file per place."""
