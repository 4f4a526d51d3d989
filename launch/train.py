"""What torchrun starts: ``torchrun --nproc_per_node=2 launch/train.py [--config FILE] [key=value …]``."""

import sys

from parallel_ser.training.main import main

if __name__ == "__main__":
    sys.exit(main())
