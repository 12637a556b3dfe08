"""What the commands do, one function per command; `medr1.api` has all of them."""
