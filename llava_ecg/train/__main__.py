"""``python -m llava_ecg.train``"""

import sys

from llava_ecg.train.run import main

if __name__ == "__main__":
    sys.exit(main())
