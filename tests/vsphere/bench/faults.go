package main

import (
	"fmt"
	"sync"
	"time"
)

// wrong is what goes wrong on demand. Numbers count down: so many times, then all is well; negative: always.
type wrong struct {
	FailSnapshot   int      `json:"fail_snapshot"`
	FailQuiesce    int      `json:"fail_quiesce"`
	IgnoreQuiesce  bool     `json:"ignore_quiesce"` // as without VMware Tools: a snapshot is made, and not quiesced
	FailRemove     int      `json:"fail_remove"`
	TaskInProgress int      `json:"task_in_progress"`
	Query          string   `json:"query"`         // fault; lie: leaves out the last area of a window; all: everything
	Window         int64    `json:"window"`        // bytes that a query answers for; 0: all
	Areas          int      `json:"areas"`         // at most so many in an answer; 0: as many as there are
	Gaps           bool     `json:"gaps"`          // now and then a short window without an area
	Deny           []string `json:"deny"`          // privileges that nobody has
	LateTracking   bool     `json:"late_tracking"` // the first snapshot after tracking was switched on has no changeId yet
	SlowMs         int      `json:"slow_ms"`       // tasks run for so long, and calls return before them
	Hold           string   `json:"hold"`          // method whose tasks run until this is switched off; all: those of all
	LoseAnswer     string   `json:"lose_answer"`   // method: once, it is done and the connection ends without an answer
}

type failures struct {
	mu sync.Mutex
	wrong
	changed chan struct{} // closed when others are wanted
}

var faults = failures{changed: make(chan struct{})}

func (f *failures) set(wanted wrong) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = wanted
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *failures) take(count *int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *count > 0 {
		*count--
		return true
	}
	return *count < 0
}

func (f *failures) now() wrong {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wrong
}

// loses is true once for the method whose answer gets lost.
func (f *failures) loses(method string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.LoseAnswer == "" || f.LoseAnswer != method {
		return false
	}
	f.LoseAnswer = ""
	return true
}

func (w *wrong) holds(method string) bool { return w.Hold == "all" || w.Hold == method }

// hurry is true if a task ends before its call returns.
func (f *failures) hurry(method string) bool {
	now := f.now()
	return now.SlowMs == 0 && !now.holds(method)
}

// wait is what makes a task slow.
func (f *failures) wait(method string) {
	time.Sleep(time.Duration(f.now().SlowMs) * time.Millisecond)
	for {
		f.mu.Lock()
		held, changed := f.holds(method), f.changed
		f.mu.Unlock()
		if !held {
			return
		}
		<-changed
	}
}

func typeName(value interface{}) string { return fmt.Sprintf("%T", value) }
