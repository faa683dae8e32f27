// A robot in C++: RAII around the C interface, and a message that is logged without a copy.
//
//     robot_cpp tape FOLDER      onto a tape of its own
//     robot_cpp agent SOCKET     into an agent
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <tapeloop.h>

namespace {

void check(tl_status status) {
    if (status != TL_OK) {
        throw std::runtime_error(tl_error());
    }
}

class Recorder {
public:
    explicit Recorder(const tl_open_options &options) { check(tl_open(&options, &handle_)); }
    ~Recorder() { tl_close(handle_, TL_PENDING_WAIT); }
    Recorder(const Recorder &) = delete;
    Recorder &operator=(const Recorder &) = delete;

    tl_channel_t *channel(const std::string &topic, const std::string &encoding) const {
        tl_channel_options options = TL_CHANNEL_OPTIONS_INIT;
        options.topic = topic.c_str();
        options.encoding = encoding.c_str();
        tl_channel_t *channel = nullptr;
        check(tl_channel(handle_, &options, &channel));
        return channel;
    }

    tl_recorder_t *get() const { return handle_; }

private:
    tl_recorder_t *handle_ = nullptr;
};

// Gives the vector to the recorder, which frees it when nobody needs it any more.
void log_moved(tl_channel_t *channel, std::vector<std::uint8_t> &&bytes) {
    auto owned = std::make_unique<std::vector<std::uint8_t>>(std::move(bytes));
    const std::uint8_t *data = owned->data();
    const std::size_t size = owned->size();
    const auto release = [](void *context) { delete static_cast<std::vector<std::uint8_t> *>(context); };
    check(tl_log_shared(channel, data, size, TL_NOW, TL_NOW, release, owned.release()));
}

}  // namespace

int main(int argc, char **argv) try {
    const std::string where = argc == 3 ? argv[1] : "";
    if (where != "tape" && where != "agent") {
        std::fprintf(stderr, "usage: %s tape FOLDER | agent SOCKET\n", argv[0]);
        return 2;
    }
    tl_open_options options = TL_OPEN_OPTIONS_INIT;
    options.device = "rover-8";
    (where == "tape" ? options.data : options.socket) = argv[2];
    const Recorder recorder(options);

    tl_channel_t *scan = recorder.channel("/scan", "x-bytes");
    for (int turn = 0; turn < 3; turn++) {
        log_moved(scan, std::vector<std::uint8_t>(200'000, static_cast<std::uint8_t>(turn)));
    }
    tl_channel_t *text = recorder.channel("/text", "json");
    for (int i = 0; i < 1000; i++) {
        const std::string message = "{\"i\": " + std::to_string(i) + "}";
        check(tl_log(text, message.data(), message.size()));
    }
    check(tl_keep_start(recorder.get(), "run-12", nullptr, nullptr, 0));
    check(tl_keep_stop(recorder.get(), "run-12", nullptr));
    check(tl_flush(recorder.get()));
    std::puts("done");
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
