// What the address sanitizer is told, in every program of the preset `asan`.
#include "absl/base/config.h"

#if defined(ABSL_HAVE_ADDRESS_SANITIZER) && ABSL_LTS_RELEASE_VERSION >= 20230802
// The packaged Abseil is not instrumented. From this version on a part of its hash tables is in the
// library, which does not unmark the memory that the part in its headers marks as not to be used.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allow_user_poisoning=0"; }
#endif
