package main

import (
	"encoding/json"
	"net/http"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// change is what a test does to a disk behind everybody's back.
type change struct {
	Machine string   `json:"machine"` // moref
	Key     int32    `json:"key"`
	Size    int64    `json:"size"`
	Mode    string   `json:"mode"`
	Sharing string   `json:"sharing"`
	Source  string   `json:"source"`
	Methods []string `json:"methods"`
}

// shown is a machine as it is now.
type shown struct {
	Name      string              `json:"name"`
	Running   map[int32]string    `json:"running"` // device key -> local path of the descriptor
	Snapshots []string            `json:"snapshots"`
	Disabled  map[string][]string `json:"disabled"`
}

// control serves the test: faults, inspection.
func control(g *gate) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/faults", func(w http.ResponseWriter, r *http.Request) {
		var wanted wrong
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		if decoder.Decode(&wanted) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		faults.set(wanted)
	})
	mux.HandleFunc("/expire", func(http.ResponseWriter, *http.Request) { g.expire() })
	mux.HandleFunc("/forget", func(http.ResponseWriter, *http.Request) { g.forget() })
	mux.HandleFunc("/calls", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(g.noted()) })
	mux.HandleFunc("/sessions", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(g.sessions()) })
	mux.HandleFunc("/machines", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(machines()) })
	mux.HandleFunc("/disable", onMachine(func(m *machine, c *change) { m.disable(c.Source, c.Methods) }))
	mux.HandleFunc("/begin", onGuest((*guest).begin))
	mux.HandleFunc("/end", onGuest((*guest).end))
	mux.HandleFunc("/grow", onMachine(func(m *machine, c *change) {
		m.stunned(func() { m.disks[c.Key].grow(c.Size) })
		m.show()
	}))
	mux.HandleFunc("/reset", onMachine(func(m *machine, c *change) {
		m.disks[c.Key].reset()
		m.show()
	}))
	mux.HandleFunc("/mode", onMachine(func(m *machine, c *change) {
		for _, found := range virtualDisks(m.Config.Hardware.Device) {
			if found.Key == c.Key {
				backing := *backingOf(found)
				backing.DiskMode, backing.Sharing = c.Mode, c.Sharing
				found.Backing = &backing
			}
		}
		m.show()
	}))
	return mux
}

// machineOf returns the machine that a question is about; an unknown one is answered with 404.
func machineOf(w http.ResponseWriter, r *http.Request) (*machine, *change) {
	var wanted change
	if json.NewDecoder(r.Body).Decode(&wanted) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return nil, nil
	}
	reference := types.ManagedObjectReference{Type: "VirtualMachine", Value: wanted.Machine}
	m, ok := simulator.Map.Get(reference).(*machine)
	if !ok || wanted.Key != 0 && m.disks[wanted.Key] == nil {
		w.WriteHeader(http.StatusNotFound)
		return nil, nil
	}
	return m, &wanted
}

func onMachine(act func(*machine, *change)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if m, wanted := machineOf(w, r); m != nil {
			simulator.Map.WithLock(m, func() { act(m, wanted) })
		}
	}
}

// onGuest begins or ends a write of the guest, without the machine's lock: whoever waits for the guest has it.
func onGuest(act func(*guest)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if m, _ := machineOf(w, r); m != nil {
			act(&m.guest)
		}
	}
}

func machines() map[string]shown {
	found := map[string]shown{}
	for _, entity := range simulator.Map.All("VirtualMachine") {
		m, ok := entity.(*machine)
		if !ok {
			continue
		}
		one := shown{Name: m.Name, Running: map[int32]string{}, Snapshots: []string{}}
		simulator.Map.WithLock(m, func() {
			for key, d := range m.disks {
				one.Running[key] = d.local(d.running())
			}
			for _, s := range m.snapshots {
				one.Snapshots = append(one.Snapshots, s.Self.Value)
			}
			one.Disabled = m.locks
		})
		found[m.Self.Value] = one
	}
	return found
}
