module countermove.example/respond

go 1.19
