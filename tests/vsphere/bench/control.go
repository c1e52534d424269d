package main

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// failures is what goes wrong on demand. Numbers count down: so many times, then all is well.
type failures struct {
	mu             sync.Mutex
	FailSnapshot   int    `json:"fail_snapshot"`
	FailQuiesce    int    `json:"fail_quiesce"`
	FailRemove     int    `json:"fail_remove"`
	TaskInProgress int    `json:"task_in_progress"`
	Query          string `json:"query"`  // fault, lie (leaves out the last area of a window), all
	Window         int64  `json:"window"` // bytes that a query answers for; 0: all
	Gaps           bool   `json:"gaps"`   // now and then a short window without an area
	SlowMs         int    `json:"slow_ms"`
}

var faults failures

func (f *failures) take(count *int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *count == 0 {
		return false
	}
	*count--
	return true
}

func (f *failures) query() (string, int64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Query, f.Window, f.Gaps
}

func (f *failures) wait() {
	f.mu.Lock()
	pause := time.Duration(f.SlowMs) * time.Millisecond
	f.mu.Unlock()
	time.Sleep(pause)
}

// change is what a test does to a disk behind everybody's back.
type change struct {
	Machine string `json:"machine"` // moref
	Key     int32  `json:"key"`
	Size    int64  `json:"size"`
	Mode    string `json:"mode"`
	Sharing string `json:"sharing"`
}

// shown is a machine as it is now.
type shown struct {
	Running   map[int32]string `json:"running"` // device key -> local path of the descriptor
	Snapshots []string         `json:"snapshots"`
}

// control serves the test: faults, inspection.
func control(g *gate) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/faults", func(w http.ResponseWriter, r *http.Request) {
		var wanted failures
		if json.NewDecoder(r.Body).Decode(&wanted) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		faults.mu.Lock()
		faults.FailSnapshot, faults.FailQuiesce, faults.FailRemove = wanted.FailSnapshot, wanted.FailQuiesce, wanted.FailRemove
		faults.TaskInProgress, faults.Query, faults.Window = wanted.TaskInProgress, wanted.Query, wanted.Window
		faults.Gaps, faults.SlowMs = wanted.Gaps, wanted.SlowMs
		faults.mu.Unlock()
	})
	mux.HandleFunc("/expire", func(http.ResponseWriter, *http.Request) { g.expire() })
	mux.HandleFunc("/forget", func(http.ResponseWriter, *http.Request) { g.forget() })
	mux.HandleFunc("/calls", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(g.noted()) })
	mux.HandleFunc("/machines", func(w http.ResponseWriter, _ *http.Request) {
		adopt()
		_ = json.NewEncoder(w).Encode(machines())
	})
	mux.HandleFunc("/grow", onDisk(func(m *machine, d *disk, c *change) { d.grow(c.Size) }))
	mux.HandleFunc("/reset", onDisk(func(m *machine, d *disk, c *change) { d.reset() }))
	mux.HandleFunc("/mode", onDisk(func(m *machine, d *disk, c *change) {
		for _, found := range m.virtualDisks(m.Config.Hardware.Device) {
			if found.Key == c.Key {
				backing := found.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
				backing.DiskMode, backing.Sharing = c.Mode, c.Sharing
			}
		}
	}))
	return mux
}

func onDisk(act func(*machine, *disk, *change)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		adopt()
		var wanted change
		if json.NewDecoder(r.Body).Decode(&wanted) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		reference := types.ManagedObjectReference{Type: "VirtualMachine", Value: wanted.Machine}
		m := simulator.Map.Get(reference).(*machine)
		act(m, m.disks[wanted.Key], &wanted)
		m.show()
	}
}

func machines() map[string]shown {
	found := map[string]shown{}
	for _, entity := range simulator.Map.All("VirtualMachine") {
		m := entity.(*machine)
		one := shown{Running: map[int32]string{}, Snapshots: []string{}}
		for key, d := range m.disks {
			one.Running[key] = d.local(d.running())
		}
		if m.Snapshot != nil {
			for _, item := range m.Snapshot.RootSnapshotList {
				one.Snapshots = append(one.Snapshots, item.Snapshot.Value)
			}
		}
		found[m.Self.Value] = one
	}
	return found
}
