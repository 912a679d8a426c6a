// What the engine needs from the platform: atomics, a lock, parking, threads, and three containers.
// The dependency tracker itself is lazyarray/_engine.pyx.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cfenv>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace la {

template <class T> inline T load(const T* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
template <class T, class V> inline void store(T* p, V v) { __atomic_store_n(p, T(v), __ATOMIC_RELEASE); }
// The new value.
template <class T, class V> inline T add(T* p, V v) { return __atomic_add_fetch(p, T(v), __ATOMIC_ACQ_REL); }
template <class T> inline bool replace(T* p, T from, T to) {
    return __atomic_compare_exchange_n(p, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

inline int64_t now_ns() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return int64_t(t.tv_sec) * 1000000000 + t.tv_nsec;
}

inline void pause_cpu() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
}

// Polls `*word` for at most `ns` nanoseconds until it is not 0.
inline bool spin(const int* word, int64_t ns) {
    const int64_t end = now_ns() + ns;
    do {
        for (int i = 0; i < 16; ++i) {
            if (load(word)) return true;
            pause_cpu();
        }
    } while (now_ns() < end);
    return load(word) != 0;
}

// Round to nearest, no flush to zero, exceptions masked: what the caller's thread had must not change bits.
inline void default_float_environment() { fesetenv(FE_DFL_ENV); }

struct FloatEnvironment {
    fenv_t saved;
    void enter() { fegetenv(&saved); fesetenv(FE_DFL_ENV); }
    void leave() { fesetenv(&saved); }
};

// Sections under the engine's lock last tens of nanoseconds, so contenders spin a little before they sleep.
class Mutex {
    pthread_mutex_t mutex_;

  public:
    Mutex() { reset(); }
    // Also after a fork, when the thread that held it does not exist.
    void reset() {
        pthread_mutexattr_t kind;
        pthread_mutexattr_init(&kind);
        pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
        pthread_mutex_init(&mutex_, &kind);
        pthread_mutexattr_destroy(&kind);
    }
    void lock() { pthread_mutex_lock(&mutex_); }
    void unlock() { pthread_mutex_unlock(&mutex_); }
};

// One thread sleeps here; any thread wakes it. A token left early is kept, so a wake is never lost.
class Parker {
    int token_ = 0;  // 1 token, 0 none, -1 asleep

  public:
    Parker* next = nullptr;

    void unpark() {
        if (__atomic_exchange_n(&token_, 1, __ATOMIC_ACQ_REL) == -1)
            syscall(SYS_futex, &token_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }
    // False when `ns` passed first; ns < 0 waits for ever.
    bool park(int64_t ns) {
        if (__atomic_fetch_sub(&token_, 1, __ATOMIC_ACQ_REL) == 1) return true;
        const int64_t end = ns < 0 ? 0 : now_ns() + ns;
        for (;;) {
            const int64_t left = ns < 0 ? 0 : end - now_ns();
            if (ns < 0 || left > 0) {
                timespec t{time_t(left / 1000000000), long(left % 1000000000)};
                syscall(SYS_futex, &token_, FUTEX_WAIT_PRIVATE, -1, ns < 0 ? nullptr : &t, nullptr, 0);
            }
            if (replace(&token_, 1, 0)) return true;
            if (ns >= 0 && now_ns() >= end) return __atomic_exchange_n(&token_, 0, __ATOMIC_ACQ_REL) == 1;
        }
    }
};

// Parkers are pooled and never freed: a waker may still hold the address after the sleeper has gone on.
class ParkerPool {
    std::mutex* lock_ = new std::mutex;
    Parker* free_ = nullptr;

  public:
    Parker* take() {
        std::lock_guard<std::mutex> guard(*lock_);
        Parker* p = free_;
        if (p) free_ = p->next;
        return p ? p : new Parker;
    }
    void give(Parker* p) {
        std::lock_guard<std::mutex> guard(*lock_);
        p->next = free_;
        free_ = p;
    }
    void after_fork() { lock_ = new std::mutex; }
};
inline ParkerPool& parkers() { static ParkerPool* pool = new ParkerPool; return *pool; }

struct OwnParker {
    Parker* parker = parkers().take();
    ~OwnParker() { parkers().give(parker); }
};
inline Parker* my_parker() {
    thread_local OwnParker own;
    return own.parker;
}

// Wakes collected under the lock and sent after it, so that no system call is made while it is held.
struct Wakes {
    Parker* list[16];
    int n;

    void add(Parker* p) {
        if (n == 16) send();
        list[n++] = p;
    }
    void send() {
        for (int i = 0; i < n; ++i) list[i]->unpark();
        n = 0;
    }
};

// The innermost task frame of this thread.
inline void*& frame_slot() {
    thread_local void* frame = nullptr;
    return frame;
}
inline void* get_frame() { return frame_slot(); }
inline void set_frame(void* frame) { frame_slot() = frame; }

// The kernel's number of this thread, as threading.get_native_id().
inline uint64_t& thread_number_slot() {
    thread_local uint64_t number = 0;
    return number;
}
inline uint64_t thread_number() {
    uint64_t& number = thread_number_slot();
    if (!number) number = uint64_t(syscall(SYS_gettid));
    return number;
}
inline void forget_thread_number() { thread_number_slot() = 0; }

// 0, or the error number of pthread_create.
inline int start_thread(void* (*main)(void*), void* arg, const char* lane, int index, pthread_t* out) {
    const int failed = pthread_create(out, nullptr, main, arg);
    if (!failed) {
        char name[16];  // the kernel's limit
        std::snprintf(name, sizeof name, "la-%.8s-%u", lane, unsigned(index) % 1000);
        pthread_setname_np(*out, name);
    }
    return failed;
}

// Lock-free: many threads push, one takes everything (so there is no ABA).
template <class T> class Stack {
    T* top_ = nullptr;

  public:
    void push(T* node) {
        T* top = load(&top_);
        do { node->next = top; } while (!__atomic_compare_exchange_n(
            &top_, &top, node, true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    }
    bool empty() const { return load(&top_) == nullptr; }
    T* take_all() { return __atomic_exchange_n(&top_, static_cast<T*>(nullptr), __ATOMIC_ACQ_REL); }
};

// Ready tasks: higher priority first, then in push order. Tasks that become ready in push order, nearly all,
// go through a list; the others through a heap.
template <class T> class ReadyQueue {
    T* head_ = nullptr;
    T* tail_ = nullptr;
    std::vector<T*> heap_;

    static bool before(const T* a, const T* b) {
        return a->priority != b->priority ? a->priority > b->priority : a->seq < b->seq;
    }
    static bool later(const T* a, const T* b) { return before(b, a); }

  public:
    bool empty() const { return !head_ && heap_.empty(); }
    void put(T* t) {
        t->next = nullptr;
        if (t->priority == 0 && (!tail_ || tail_->seq < t->seq)) {
            if (tail_) tail_->next = t; else head_ = t;
            tail_ = t;
        } else {
            heap_.push_back(t);
            std::push_heap(heap_.begin(), heap_.end(), later);
        }
    }
    T* top() const {
        if (heap_.empty()) return head_;
        return head_ && before(head_, heap_.front()) ? head_ : heap_.front();
    }
    T* take() {
        T* t = top();
        if (!t) return nullptr;
        if (t == head_) {
            head_ = t->next;
            if (!head_) tail_ = nullptr;
        } else {
            std::pop_heap(heap_.begin(), heap_.end(), later);
            heap_.pop_back();
        }
        return t;
    }
};

enum EventKind { PUSH, READY, START, END };

struct VarUse {
    uint64_t var, version;
    bool write;
};

struct LogEvent {
    EventKind kind;
    int64_t time;  // ns, CLOCK_MONOTONIC
    uint64_t task, thread;
    const char* name;
    size_t uses, n_uses;  // a range of EventLog::use_at
};

// Guarded by the engine's lock. Names are interned, because a task's own name may be gone when the log is read.
class EventLog {
    std::unordered_set<std::string> names_;
    size_t capacity_;
    std::vector<LogEvent> events_;
    std::vector<VarUse> uses_;

  public:
    size_t lost = 0;

    explicit EventLog(size_t capacity) : capacity_(capacity) {}
    bool add(EventKind kind, uint64_t task, const char* name) {
        if (events_.size() >= capacity_) {
            ++lost;
            return false;
        }
        const char* kept = names_.emplace(name ? name : "").first->c_str();
        events_.push_back({kind, now_ns(), task, thread_number(), kept, uses_.size(), 0});
        return true;
    }
    size_t size() const { return events_.size(); }
    LogEvent* event_at(size_t i) { return &events_[i]; }
    VarUse* use_at(size_t i) { return &uses_[i]; }
    // For the event added last.
    void use(uint64_t var, uint64_t version, bool write) {
        uses_.push_back({var, version, write});
        ++events_.back().n_uses;
    }
};

}  // namespace la
