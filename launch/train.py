"""What torchrun starts: ``torchrun --nproc_per_node=2 launch/train.py [--config FILE] [key=value …]``."""

from parallel_ser.training.main import rank

if __name__ == "__main__":
    rank()
