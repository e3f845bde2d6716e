"""Built-in metrics: the loss and its floors."""
