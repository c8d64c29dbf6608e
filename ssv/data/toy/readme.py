"""The text that explains a toy world to whoever finds its folder."""

README = """# The toy world

Size `{size}`, seed {seed}, version {version}, control `{control}`. Written by `ssv toy`; the same four give the same files.
`contact_sheet.png` shows it, `world.json` counts it. Nothing here was filmed: use and pass it on freely.

A textured actor with two limbs moves in one of 12 ways, seen by an unsteady camera in unsteady light. The class is
the way of moving and nothing else: one frame of any class has the same distribution, because an actor carries the
offsets of all 12 laws of motion, each frozen at a moment of its own except the one that runs. Camera, light and
bystanders wander without a time scale, so that hardly anything but the actor tells how fast a video is played. Five
classes have an arrow of time: Bounce, Dissolve, Shatter, Skid, Twang.

| folder | what lies there |
|---|---|
| `UCF-101/`, `ucfTrainTestlist/` | action videos and three folds of lists, laid out like UCF101; a group is a scene |
| `DAVIS/` | clips as frames with object masks, laid out like DAVIS-2017; `KeyPoints/480p/*.csv` has 5 points of the actor in each frame, x and y in pixels from the centre of the top left one, also where something hides them |
| `phases/` | videos of one process at changing pace; `phases.csv` has how far it has gone in each frame, from 0 to 1 |

Videos have 80x64 or 82x66 pixels and 24, 25 or 30 frames per second, in MPEG-4 (.avi) or H.264 (.mp4, some with
B-frames). What kind of file a video is does not depend on its class or on its split.
A world with control `frozen_actor` is for testing shortcuts: its actors never move, all else does.
"""
