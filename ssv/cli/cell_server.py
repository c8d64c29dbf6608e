"""What the server of a study's cells imports first, which is the only way to have it do something: it ends with the study.

By itself it would wait until all cells have ended, and then take seconds to unload what they share.
"""

import os
import sys

from ssv.lifetime import end_with

if any("multiprocessing.forkserver" in word for word in sys.orig_argv):  # nothing happens on any other import
    end_with(os.getppid())
