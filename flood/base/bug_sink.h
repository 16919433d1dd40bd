// flood/base/bug_sink.h
//
// Where the text of an OVERLAY_BUG goes instead of standard error: a program with a log of its own
// form says so once, at its start.
//
// Threads  the sink is called on any thread, and must not block for long.
#ifndef OVERLAY_FLOOD_BASE_BUG_SINK_H_
#define OVERLAY_FLOOD_BASE_BUG_SINK_H_

namespace overlay {

using BugSink = void (*)(const char* file, int line, const char* text);

// nullptr: standard error, as at the start.
void SetBugSink(BugSink sink);

}  // namespace overlay

#endif  // OVERLAY_FLOOD_BASE_BUG_SINK_H_
