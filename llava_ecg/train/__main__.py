"""``python -m llava_ecg.train``"""

from llava_ecg.train.leaving import leave
from llava_ecg.train.run import main

if __name__ == "__main__":
    leave(main())
