"""What ends a training process on purpose. The names of these classes reach the supervisor through the rank's heartbeat file."""


class NonFiniteError(FloatingPointError):
    """A step stayed without a finite loss and gradient; the message names stage, step, learning rate and clips."""


class CheckpointError(RuntimeError):
    """A checkpoint that could not be written; the message names it, the room left and the last good one."""
