/* A robot in C: logs an IMU, a camera and a map, and keeps what came before a bump.
 *
 *     robot_c tape FOLDER      onto a tape of its own
 *     robot_c agent SOCKET     into an agent
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tapeloop.h>

static const char IMU_SCHEMA[] =
    "{\"type\": \"object\", \"properties\": {\"ax\": {\"type\": \"number\"}, \"ay\": {\"type\": \"number\"}}}";
/* Foxglove's raw image in JSON would be base64; pixels as they are need no schema that anybody knows. */
enum { FRAME_BYTES = 5 * 1000 * 1000, STEPS = 20 };

static void check(tl_status status, const char *what) {
    if (status != TL_OK) {
        fprintf(stderr, "%s: %s (status %d)\n", what, tl_error(), (int)status);
        exit(1);
    }
}

int main(int argc, char **argv) {
    if (argc != 3 || (strcmp(argv[1], "tape") != 0 && strcmp(argv[1], "agent") != 0)) {
        fprintf(stderr, "usage: %s tape FOLDER | agent SOCKET\n", argv[0]);
        return 2;
    }
    tl_open_options options = TL_OPEN_OPTIONS_INIT;
    options.device = "rover-7";
    if (strcmp(argv[1], "tape") == 0) {
        options.data = argv[2];
        options.keep = "10 min";
    } else {
        options.socket = argv[2];
    }
    tl_recorder_t *recorder = NULL;
    check(tl_open(&options, &recorder), "tl_open");

    char description[4096];
    check(tl_describe(recorder, description, sizeof description), "tl_describe");
    printf("tapeloop %s, %s\n", tl_version(), description);

    tl_channel_options imu = TL_CHANNEL_OPTIONS_INIT;
    imu.topic = "/imu";
    imu.encoding = "json";
    imu.schema_name = "Imu";
    imu.schema_encoding = "jsonschema";
    imu.schema_data = IMU_SCHEMA;
    imu.schema_size = strlen(IMU_SCHEMA);
    tl_channel_t *imu_channel = NULL;
    check(tl_channel(recorder, &imu, &imu_channel), "tl_channel");

    tl_pair pixels[] = {{"width", "2500"}, {"height", "2000"}};
    tl_channel_options camera = TL_CHANNEL_OPTIONS_INIT;
    camera.topic = "/camera/front";
    camera.metadata = pixels;
    camera.metadata_count = 2;
    tl_channel_t *camera_channel = NULL;
    check(tl_channel(recorder, &camera, &camera_channel), "tl_channel");

    tl_channel_options map = TL_CHANNEL_OPTIONS_INIT;
    map.topic = "/map";
    map.encoding = "json";
    map.latched = 1; /* It joins every recording. */
    tl_channel_t *map_channel = NULL;
    check(tl_channel(recorder, &map, &map_channel), "tl_channel");
    check(tl_log(map_channel, "{\"name\": \"garage\"}", 18), "tl_log");

    uint8_t *frame = malloc(FRAME_BYTES);
    if (frame == NULL) {
        return 1;
    }
    char text[64];
    for (int step = 0; step < STEPS; step++) {
        int length = snprintf(text, sizeof text, "{\"ax\": %d.5, \"ay\": 0}", step);
        check(tl_log(imu_channel, text, (size_t)length), "tl_log");
        if (step % 10 == 0) {
            memset(frame, step, FRAME_BYTES);
            check(tl_log(camera_channel, frame, FRAME_BYTES), "tl_log");
        }
    }
    free(frame);

    /* A message that was measured at a time of its own. */
    const int64_t begun = INT64_C(1700000000000000000);
    check(tl_log_at(imu_channel, "{\"ax\": -9, \"ay\": 1}", 19, TL_NOW, begun), "tl_log_at");

    const char *topics[] = {"/imu", "/map"};
    tl_pair labels[] = {{"run", "12"}};
    tl_save_options keep = TL_SAVE_OPTIONS_INIT;
    keep.before = "30 s";
    keep.why = "bump";
    keep.topics = topics;
    keep.topic_count = 2;
    keep.labels = labels;
    keep.label_count = 1;
    char id[TL_ID_SIZE];
    check(tl_save(recorder, &keep, id, sizeof id), "tl_save");
    printf("kept %s\n", id);

    check(tl_flush(recorder), "tl_flush");
    check(tl_close(recorder, TL_PENDING_WAIT), "tl_close");
    return 0;
}
