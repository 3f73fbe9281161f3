package fs_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/cairn-backup/cairn/fs"
	"github.com/cairn-backup/cairn/index"
)

// A mount that serves until it is unmounted or the program gets a signal.
func ExampleMount() {
	var repo *index.Repository // opened with index.Open

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	mounted, err := fs.Mount(ctx, repo, "/mnt/backups", fs.Options{Now: time.Now, Log: func(line string) { log.Print(line) }})
	if err != nil {
		log.Fatal(err)
	}
	if err := mounted.Wait(); err != nil {
		log.Fatal(err)
	}
}
