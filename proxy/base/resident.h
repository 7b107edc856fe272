// What the process keeps resident. THREAD: any.
#pragma once

namespace pinnace::base {

// Gives back what only starting needed: pages of program text and constants (they come back from the page cache when
// they are used again) and free heap. A few milliseconds of page faults; not for the request path.
void give_back_memory();

}  // namespace pinnace::base
