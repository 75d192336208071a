// What torch-sys finds in place of libtorch's header when libtorch is not there: `.cargo/config.toml` puts
// this directory behind all others on the path of headers. The include that cannot be found stops the
// compiler, so that no page of C++ errors follows.
#error libtorch is not in third_party/libtorch: run `make libtorch` first
#include "libtorch: run `make libtorch` first, or let LIBTORCH name a libtorch 2.11"
