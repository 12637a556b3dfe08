"""Read questions and images from files, check, split and convert them; the embedded data set."""
