# Writes a program's manual page from what its --help says, so that the two never differ.
#   cmake -D PROGRAM=... -D VERSION=... -D "WHAT=what it is" -D OUT=FILE.1 -P manual.cmake
get_filename_component(name ${PROGRAM} NAME)
string(TOUPPER ${name} NAME_IN_CAPITALS)
execute_process(COMMAND ${PROGRAM} --help OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
# What roff takes for its own.
string(REPLACE "\\" "\\e" text "${text}")
string(REPLACE "-" "\\-" text "${text}")
string(REGEX REPLACE "\n([.'])" "\n\\\\&\\1" text "${text}")

set(page ".TH ${NAME_IN_CAPITALS} 1 \"\" \"overlayd ${VERSION}\" \"overlayd\"\n.SH NAME\n${name} \\- ${WHAT}\n")
string(APPEND page ".SH DESCRIPTION\n.nf\n${text}.fi\n")
if(name STREQUAL overlayd)
  string(APPEND page [[
.SH EXIT STATUS
0: it ran, and was drained by SIGTERM or SIGINT. 1: the machine will not have it (an address in use, say).
2: a setting is wrong. In both cases one line on standard error says what and where.
.SH FILES
.TP
.I /etc/overlayd/overlayd.toml
the settings, of the packaged unit
.TP
.I /run/overlayd/core.sock
where the core attaches, unless \fBapi.listen\fR says otherwise
.SH SEE ALSO
.BR overlayctl (1)
]])
else()
  string(APPEND page ".SH SEE ALSO\n.BR overlayd (1)\n")
endif()
file(WRITE ${OUT} "${page}")
