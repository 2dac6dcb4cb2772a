# SPDX-License-Identifier: GPL-2.0-or-later
# lock: none
# vary: SIZE small large
# vary: COLOUR red green blue
# Is run once for each choice of values, and knows it.
expect_line '^(small|large)$' "$(echo "$SIZE" >size && echo size)"
expect_line '^(red|green|blue)$' "$(echo "$COLOUR" >colour && echo colour)"
