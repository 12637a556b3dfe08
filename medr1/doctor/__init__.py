"""What `medr1 doctor` looks at: the machine, the libraries, and whether the device is right."""
