// Respond to an incident with a person who decides, as JSON over HTTP. Needs no module beside Go's own.
//
//	go run . SYSTEM.txt ALERTS.log
//
// COUNTERMOVE_COORDINATOR says where the coordinator is, COUNTERMOVE_TOKEN who calls.
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// The parts of messages that are used here. docs/openapi.json has all of them.
type (
	facts     map[string]bool
	candidate struct {
		Index          int
		Action         struct{ Text string }
		Cost           struct{ Mean *float64 }
		PredictedState facts
	}
	step struct {
		Index, Chosen    int
		Reason, PlanHash string
		Candidates       []candidate
	}
	update struct {
		Error *problem
		Event struct {
			Assessed *struct{ Description string }
			Decided  *step
			Ended    *struct{ End, Error string }
		}
	}
	creation struct {
		Incident struct{ Name string }
		Digest   struct{ Records string }
	}
	problem struct{ Code, Message string }
	message map[string]any
)

var input = bufio.NewReader(os.Stdin)

// call calls a method of the incident service.
func call(method string, request message) (io.ReadCloser, error) {
	coordinator := os.Getenv("COUNTERMOVE_COORDINATOR")
	if coordinator == "" {
		coordinator = "http://127.0.0.1:7700"
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequest("POST", coordinator+"/countermove.v1.IncidentService/"+method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	post.Header.Set("Content-Type", "application/json")
	if token := os.Getenv("COUNTERMOVE_TOKEN"); token != "" {
		post.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(post)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		var refused problem
		if err := json.NewDecoder(answer.Body).Decode(&refused); err != nil {
			return nil, fmt.Errorf("%s: %s", method, answer.Status)
		}
		return nil, fmt.Errorf("%s: %s: %s", method, refused.Code, refused.Message)
	}
	return answer.Body, nil
}

// change makes a call that changes something. Its id makes it safe to send once more when the connection breaks.
func change(method string, request message, into any) error {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	request["requestId"] = fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	body, err := call(method, request)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(into)
}

func agreed(question string) bool {
	fmt.Print(question, " [y/N] ")
	line, _ := input.ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(line), "y")
}

// decide shows what was decided, asks, approves by the hash of what was shown, and reports what came of it.
func decide(name string, step *step) error {
	fmt.Printf("\nStep %d: %s\n", step.Index+1, step.Reason)
	var predicted facts
	for _, candidate := range step.Candidates {
		mark, cost := " ", "no estimate"
		if candidate.Index == step.Chosen {
			mark, predicted = "*", candidate.PredictedState
		}
		if candidate.Cost.Mean != nil {
			cost = fmt.Sprintf("cost %.2f", *candidate.Cost.Mean)
		}
		fmt.Printf(" %s %s (%s)\n", mark, candidate.Action.Text, cost)
	}
	if !agreed("Approve it?") {
		return errors.New(name + " goes on waiting for a decision")
	}
	approval := message{"name": name, "step": step.Index, "planHash": step.PlanHash, "approver": "example"}
	if err := change("ApproveAction", approval, &creation{}); err != nil {
		return err
	}
	// Here the action is carried out, and somebody looks at what it achieved.
	if !agreed("Approved. Did it achieve what was predicted?") {
		return errors.New(name + " goes on waiting for its outcome")
	}
	outcome := message{"name": name, "step": step.Index, "facts": predicted}
	if err := change("ReportOutcome", outcome, &creation{}); err != nil {
		return err
	}
	fmt.Println("Reported:", predicted)
	return nil
}

func respond(system, alerts string) error {
	description, err := os.ReadFile(system)
	if err != nil {
		return err
	}
	log, err := os.ReadFile(alerts)
	if err != nil {
		return err
	}
	var created creation
	err = change("CreateIncident", message{
		"evidence": message{"systemDescription": string(description), "alerts": string(log)},
		// Small and repeatable, for an example; what is left out is the coordinator's default.
		"options": message{"mode": "PLAN_MODE_INTERACTIVE", "candidates": 2, "rollouts": 4, "seed": "7"},
	}, &created)
	if err != nil {
		return err
	}
	name := created.Incident.Name
	fmt.Printf("%s: %s records\n", name, created.Digest.Records)
	updates, err := call("WatchIncident", message{"name": name})
	if err != nil {
		return err
	}
	defer updates.Close()
	for lines := json.NewDecoder(updates); ; {
		var update update
		if err := lines.Decode(&update); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch event := update.Event; {
		case update.Error != nil:
			return fmt.Errorf("WatchIncident: %s: %s", update.Error.Code, update.Error.Message)
		case event.Assessed != nil:
			fmt.Println(event.Assessed.Description)
		case event.Decided != nil:
			if err := decide(name, event.Decided); err != nil {
				return err
			}
		case event.Ended != nil:
			fmt.Printf("\nEnded: %s %s\n", event.Ended.End, event.Ended.Error)
		}
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: respond SYSTEM.txt ALERTS.log")
		os.Exit(2)
	}
	if err := respond(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
