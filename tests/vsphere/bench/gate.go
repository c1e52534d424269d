package main

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
)

// gate stands before the simulator: it notes calls, ends sessions, and makes each new machine one of ours.
type gate struct {
	inner http.Handler
	mu    sync.Mutex
	calls []call
	dead  map[string]bool // cookies of ended sessions
	seen  map[string]bool // cookies
}

type call struct {
	Method string `json:"method"`
	Object string `json:"object"`
}

var method = regexp.MustCompile(`(?s)<(?:\w+:)?Body[^>]*>\s*<(?:\w+:)?(\w+)[^>]*>\s*<(?:\w+:)?_this[^>]*>([^<]*)<`)

func newGate(inner http.Handler) *gate {
	return &gate{inner: inner, dead: map[string]bool{}, seen: map[string]bool{}}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	if cookie, err := r.Cookie(soap.SessionCookieName); err == nil {
		g.seen[cookie.Value] = true
		if g.dead[cookie.Value] {
			r.Header.Del("Cookie") // the simulator answers as it does to strangers: NotAuthenticated
		}
	}
	g.mu.Unlock()
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			if found := method.FindSubmatch(body); found != nil {
				g.mu.Lock()
				g.calls = append(g.calls, call{string(found[1]), string(found[2])})
				g.mu.Unlock()
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		adopt()
	}
	g.inner.ServeHTTP(w, r)
}

// expire ends all sessions there are.
func (g *gate) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for cookie := range g.seen {
		g.dead[cookie] = true
	}
}

func (g *gate) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = nil
}

func (g *gate) noted() []call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]call{}, g.calls...)
}

var adopting sync.Mutex

// adopt replaces the simulator's machines by ours, which keep their state.
func adopt() {
	adopting.Lock()
	defer adopting.Unlock()
	for _, entity := range simulator.Map.All("VirtualMachine") {
		if vm, ok := entity.(*simulator.VirtualMachine); ok {
			simulator.Map.Put(newMachine(vm))
		}
	}
}
