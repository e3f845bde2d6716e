"""Built-in executors: in this process, or worker processes on this machine."""
