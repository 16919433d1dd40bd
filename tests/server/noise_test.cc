// What is not protobuf, and what is not even HTTP/2: answered or dropped, and never printed.
#include <grpcpp/generic/generic_stub.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/library_log.h"
#include "tests/server/sessions_fixture.h"

namespace overlay::server {
namespace {

using grpc::StatusCode;

class Noise : public Sessions {
 protected:
  grpc::Status Call(const std::string& method, const std::string& bytes) {
    grpc::GenericStub generic(channel_);
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::Status status;
    auto call = generic.PrepareUnaryCall(&context, method, request, &queue);
    call->StartCall();
    call->Finish(&response, &status, this);
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    queue.Shutdown();
    return status;
  }
  // As one who has taken the socket for a web server.
  void ConnectAndSay(const std::string& text) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    folder_.Path("core").copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    // Until the server hangs up.
    char buffer[512];
    while (read(fd, buffer, sizeof(buffer)) > 0) {
    }
    close(fd);
  }
};

TEST_F(Noise, IsAnsweredAndNotPrinted) {
  LibraryLog::Take();
  testing::internal::CaptureStderr();
  // Field 10 of AttachRequest (agent) is a string, and 0xff is not UTF-8; a length beyond the end;
  // a field number 0.
  for (const std::string& bytes :
       {std::string("\x52\x01\xff"), std::string("\x52\x7f\x41"), std::string("\x00\x01", 2)}) {
    EXPECT_EQ(Call("/overlay.v1.Core/Attach", bytes).error_code(), StatusCode::INVALID_ARGUMENT);
  }
  ConnectAndSay("GET / HTTP/1.1\r\nHost: overlay\r\n\r\n");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  // It waits for the log instead, once for all.
  const std::optional<LibraryLog::Said> said = LibraryLog::Take();
  ASSERT_TRUE(said);
  EXPECT_GE(said->count, 1u);
  EXPECT_THAT(said->text, testing::HasSubstr("UTF-8"));
  EXPECT_FALSE(LibraryLog::Take());
  Attachment a = Attach();  // nobody else is hurt
  EXPECT_NE(a.session, 0u);
  a.context->TryCancel();
}

}  // namespace
}  // namespace overlay::server
