// flood/base/status_macros.h
//
// OVERLAY_RETURN_IF_ERROR(expression): returns the absl::Status of the expression to the caller
// unless it is OK. For functions that return absl::Status or absl::StatusOr.
#ifndef OVERLAY_FLOOD_BASE_STATUS_MACROS_H_
#define OVERLAY_FLOOD_BASE_STATUS_MACROS_H_

#include "absl/status/status.h"

#define OVERLAY_RETURN_IF_ERROR(expression)                                                      \
  do {                                                                                           \
    if (absl::Status overlay_status = (expression); !overlay_status.ok()) return overlay_status; \
  } while (false)

#endif  // OVERLAY_FLOOD_BASE_STATUS_MACROS_H_
