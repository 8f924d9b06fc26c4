// The same uses of crvideo.h in C++98 and C++11: the header must mean the same there.
#include "header_use.c"
