/* Tapeloop, the flight recorder for robots: the recorder for C (C99 or newer) and C++.
 *
 *     tl_open_options options = TL_OPEN_OPTIONS_INIT;
 *     options.device = "rover-7";
 *     tl_recorder_t *recorder;
 *     if (tl_open(&options, &recorder) != TL_OK) { fprintf(stderr, "%s\n", tl_error()); return 1; }
 *
 *     tl_channel_options imu = TL_CHANNEL_OPTIONS_INIT;
 *     imu.topic = "/imu";
 *     imu.encoding = "json";
 *     tl_channel_t *channel;
 *     tl_channel(recorder, &imu, &channel);
 *     tl_log(channel, "{\"ax\": 0.1}", 11);
 *
 *     tl_close(recorder, TL_PENDING_WAIT);
 *
 * Every function that can fail returns a tl_status; tl_error() says in words what failed. All may be called from any thread,
 * also with the same handle, but none while another thread forks: its child could wait for ever for what the call held. Handles
 * are never followed as pointers: one that was closed, or is none, is TL_INVALID.
 *
 * Texts end with a zero, are UTF-8, and are copied: they are the caller's again when the call returns. Where a text may be NULL,
 * this file says what that means. Times are nanoseconds since 1970, UTC.
 */
#ifndef TAPELOOP_H
#define TAPELOOP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a call met. */
typedef enum tl_status {
    TL_OK = 0,
    TL_INVALID = 1,     /* The request is wrong: change it. */
    TL_NOT_FOUND = 2,   /* What was asked for does not exist. */
    TL_CONFLICT = 3,    /* Somebody else uses it; or the recorder was opened before a fork, by the parent. */
    TL_DENIED = 4,      /* This user may not. */
    TL_UNAVAILABLE = 5, /* It may work later: no agent, a full disk, a queue that stayed full, a recorder that was closed. */
    TL_CORRUPT = 6,     /* Data is damaged. */
    TL_INTERNAL = 7     /* A fault of the library. */
} tl_status;

/* A recorder: the agent of this machine, or a tape of this process. */
typedef struct tl_recorder tl_recorder_t;
/* A topic to log into. It ends with its recorder. */
typedef struct tl_topic_channel tl_channel_t;

/* The time that means: now; as a publish time: the log time. */
#define TL_NOW INT64_MIN
/* How large a buffer for a recording's id must be. */
#define TL_ID_SIZE 64

/* A name and a value. */
typedef struct tl_pair {
    const char *key;
    const char *value;
} tl_pair;

/* The version of the library, e.g. "0.1.0". Never NULL. */
const char *tl_version(void);

/* What the last call that failed in this thread met. Never NULL; stays until the next call fails in this thread. */
const char *tl_error(void);

/* --- Recorders --- */

/* Which recorder to open. All zero: the agent of this machine if one answers, else a tape in the default folder. */
typedef struct tl_open_options {
    size_t size;        /* sizeof(tl_open_options): begin with TL_OPEN_OPTIONS_INIT. */
    const char *device; /* The robot's name; NULL: the program's file name, for an agent the name of this client. */
    const char *data;   /* Record onto a tape of this process, in this folder; NULL: the default folder. */
    const char *keep;   /* How much such a tape holds: "10 min", or "20 GB"; NULL: the smaller of 20 GB and 10 % of the disk. */
    const char *config; /* The configuration of such a tape, instead of keep: a file's path, or TOML text (with a '=' in it). */
    const char *socket; /* Record into the agent at this socket, and nowhere else. */
} tl_open_options;
#define TL_OPEN_OPTIONS_INIT {sizeof(tl_open_options), NULL, NULL, NULL, NULL, NULL}

/* Opens a recorder; options may be NULL. A recorder that is still open when the process calls exit() is closed then, with
 * TL_PENDING_RESUME; in a child of fork() the handles of the parent are TL_CONFLICT: open another recorder there. */
tl_status tl_open(const tl_open_options *options, tl_recorder_t **recorder);

/* Writes who records: "agent at <socket>" or "embedded tape in <folder>". */
tl_status tl_describe(tl_recorder_t *recorder, char *text, size_t size);

/* Returns when everything logged so far is on the disk. */
tl_status tl_flush(tl_recorder_t *recorder);

/* What happens, when a tape of this process is closed, to recordings whose end lies in the future. */
#define TL_PENDING_WAIT 0   /* Wait for it. */
#define TL_PENDING_CUT 1    /* Cut them short. */
#define TL_PENDING_RESUME 2 /* Leave them to the next opening of the tape. */

/* Closes a recorder and its channels; everything accepted is on the disk then. An agent goes on without this program. The
 * handles are no longer valid, whatever the status says; only where pending is none of the above, which is TL_INVALID, nothing
 * was closed. */
tl_status tl_close(tl_recorder_t *recorder, int pending);

/* --- Logging --- */

/* What is logged. */
typedef struct tl_channel_options {
    size_t size;                 /* sizeof(tl_channel_options): begin with TL_CHANNEL_OPTIONS_INIT. */
    const char *topic;           /* The topic's name, like "/imu". Must be given. */
    const char *encoding;        /* How messages are encoded: "json", "cdr", "protobuf", …; NULL: "x-bytes", plain bytes. */
    const char *schema_name;     /* The type's name, like "sensor_msgs/msg/Imu"; NULL: no schema. */
    const char *schema_encoding; /* How its definition is written: "ros2msg", "protobuf", "jsonschema", …; NULL: not known. */
    const void *schema_data;     /* The definition. */
    size_t schema_size;          /* Its size in bytes, at most 16 MiB. */
    const tl_pair *metadata;     /* What else is known of the topic, e.g. "offered_qos_profiles". */
    size_t metadata_count;
    const char *publisher;       /* Who publishes; each publisher of a latched topic has a last value of its own. */
    int latched;                 /* Whether the last value joins every recording. */
} tl_channel_options;
#define TL_CHANNEL_OPTIONS_INIT {sizeof(tl_channel_options), NULL, NULL, NULL, NULL, NULL, 0, NULL, 0, NULL, 0}

/* Gives the channel of a topic; equal options give the same handle. */
tl_status tl_channel(tl_recorder_t *recorder, const tl_channel_options *options, tl_channel_t **channel);

/* Logs a message, now. TL_OK means accepted; tl_flush() means on the disk. A message of 64 KiB or more is copied once on its way
 * to the disk, and not at all on its way into the agent's socket. data may be NULL where size is 0; a message has at most 1 GiB,
 * and 256 MiB through the agent.
 *
 * What a disk met with an earlier message is told once, by a later call, as TL_UNAVAILABLE: the message of that call was not
 * taken and may be logged again. */
tl_status tl_log(tl_channel_t *channel, const void *data, size_t size);

/* Logs a message with its times: when it was recorded, and when it was published; each may be TL_NOW. */
tl_status tl_log_at(tl_channel_t *channel, const void *data, size_t size, int64_t log_time_ns, int64_t publish_time_ns);

/* Logs a message without copying it. The bytes must stay as they are until release(context) is called: exactly once, from any
 * thread, maybe before this returns, also where this fails (but not where release is NULL, which is TL_INVALID). A RAM buffer may
 * hold them for as long as it is deep. release must not call this library, jump out, or throw. */
tl_status tl_log_shared(tl_channel_t *channel, const void *data, size_t size, int64_t log_time_ns, int64_t publish_time_ns,
                        void (*release)(void *context), void *context);

/* --- Keeping --- */

/* What to keep: before and after a moment, or from start to end. Durations: "30 s", "200 ms", "1 h 30 min". Times: "now",
 * "14:32:10", "10 min ago", RFC 3339, integer nanoseconds. */
typedef struct tl_save_options {
    size_t size;               /* sizeof(tl_save_options): begin with TL_SAVE_OPTIONS_INIT. */
    const char *before;        /* How much before the moment. */
    const char *after;         /* How much after it. */
    const char *at;            /* The moment; NULL: now. */
    const char *start;         /* Where the span starts, instead of before, after and at. */
    const char *end;           /* Where it ends; NULL: now. */
    const char *why;           /* Why, in your words. */
    const char *const *topics; /* Topic patterns, like "/imu" or "!/camera/raw"; none: all topics. */
    size_t topic_count;
    const tl_pair *labels;
    size_t label_count;
} tl_save_options;
#define TL_SAVE_OPTIONS_INIT {sizeof(tl_save_options), NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, 0}

/* Keeps a span of the tape. It returns at once; what lies in the future is added as it comes. id takes the recording's id: NULL,
 * or a buffer of TL_ID_SIZE or more. */
tl_status tl_save(tl_recorder_t *recorder, const tl_save_options *options, char *id, size_t id_size);

/* Keeps everything from now on, until tl_keep_stop() of that name. Of the options, before, topics, why and labels may be set. */
tl_status tl_keep_start(tl_recorder_t *recorder, const char *name, const tl_save_options *options, char *id, size_t id_size);

/* Ends it, a duration from now; NULL: now. */
tl_status tl_keep_stop(tl_recorder_t *recorder, const char *name, const char *after);

/* Waits until nothing will be added to a recording any more, which takes up to 10 s after the last message that it wants.
 * TL_UNAVAILABLE: it took longer than the timeout. */
tl_status tl_wait(tl_recorder_t *recorder, const char *id, uint64_t timeout_ms);

#ifdef __cplusplus
}
#endif
#endif
