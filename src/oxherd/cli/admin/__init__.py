"""The commands that read and steer: clients of `herd.admin`, a module each."""
