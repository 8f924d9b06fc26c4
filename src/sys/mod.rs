//! System calls, each behind a safe function.
