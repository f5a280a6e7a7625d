#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py OUTPUT FILE... - writes a C header with each file's text as a string: Makefile -> template_makefile."""
import pathlib
import re
import sys

out = []
for name in sys.argv[2:]:
    text = pathlib.Path(name).read_text(encoding="ascii")
    word = re.sub(r"\W", "_", pathlib.Path(name).name.lower())
    lines = (line.replace("\\", "\\\\").replace('"', '\\"') for line in text.splitlines())
    out.append("static const char template_%s[] =\n%s;\n" % (word, "\n".join('    "%s\\n"' % l.replace("\t", "\\t") for l in lines)))
pathlib.Path(sys.argv[1]).write_text("".join(out), encoding="ascii")
