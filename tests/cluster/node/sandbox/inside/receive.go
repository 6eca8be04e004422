package inside

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// receiver reads from a socket and keeps the files that come with the bytes. The kernel hands files over no later than
// the first byte that they were sent with, and in order.
type receiver struct {
	fd    int
	files []uintptr
}

func (r *receiver) Read(p []byte) (int, error) {
	rights := make([]byte, unix.CmsgSpace(3*4))
	n, m, _, _, err := unix.Recvmsg(r.fd, p, rights, unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR {
		n, m, _, _, err = unix.Recvmsg(r.fd, p, rights, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return 0, fmt.Errorf("receive: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:m])
	if err != nil {
		return 0, fmt.Errorf("receive files: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return 0, fmt.Errorf("receive files: %w", err)
		}
		for _, fd := range fds {
			r.files = append(r.files, uintptr(fd))
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// take returns the next files that have come.
func (r *receiver) take(n int) []uintptr {
	n = min(n, len(r.files))
	taken := r.files[:n]
	r.files = r.files[n:]
	return taken
}
