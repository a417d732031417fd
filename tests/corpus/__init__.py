"""Bad input: files made from a seed, what each has to end in, and the law that all are held to."""
