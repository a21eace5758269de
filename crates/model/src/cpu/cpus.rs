//! The CPUs of this machine: which the process may use, and pinning a thread to one.

/// Threads that run at a time; less than CPUs where a quota says so.
pub(super) fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// CPUs that the process may use, in order; empty where the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn allowed() -> Vec<usize> {
    // SAFETY: a CPU set is plain bits; the call writes at most the size it is given.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn allowed() -> Vec<usize> {
    (0..parallelism()).collect()
}

/// Pins the calling thread to a CPU. A refusal costs speed only.
#[cfg(target_os = "linux")]
pub(super) fn pin(cpu: usize) {
    if cpu >= libc::CPU_SETSIZE as usize {
        return;
    }
    // SAFETY: a CPU set is plain bits, and the number was checked to lie in it.
    let refused = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) != 0
    };
    if refused {
        tracing::warn!(cpu, "a compute thread could not be pinned");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn pin(_: usize) {}
