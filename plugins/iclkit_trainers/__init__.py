"""Built-in trainers: gradient descent through accelerate."""
