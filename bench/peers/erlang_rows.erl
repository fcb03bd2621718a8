%% erlang_rows.erl: Erlang on the rows of actors; the protocol is engine.h's, the sizes are those of
%% rows/actors.c and rows/savina.c. An actor is a process with a loop of its own. Nothing is
%% bounded: what a row floods with lies in mailboxes. A call with a result is a message with a fresh
%% reference and a receive of the answer that carries it, without the monitor of gen_server:call.
%% As many schedulers as threads (erlang.sh); the process that measures only waits.
-module(erlang_rows).
-export([main/1]).

-define(RING, 100).
-define(FORKS, 60).
-define(BIG, 120).
-define(BURST, 1000).
-define(CHAMENEOS, 100).
-define(READERS, 20).
-define(DICTIONARY, 512).
-define(ACCOUNTS, 1000).
-define(BANK_OPEN, 512).

%% Size, size of tiny runs, messages for each unit of it, and what measures one repetition.
row("actor_pingpong") -> {2000000, 2000, 1, fun(N) -> pass_round(N, 2) end};
row("actor_ring") -> {4000000, 2000, 1, fun(N) -> pass_round(N, ?RING) end};
row("actor_counting") -> {4000000, 4000, 1, fun(N) -> flood(N, 1) end};
row("actor_n1") -> {4000000, 4000, 1, fun(N) -> flood(N, 8) end};
row("actor_fjthrput") -> {6000000, 6000, 1, fun fjthrput/1};
row("actor_fjcreate") -> {400000, 2000, 1, fun fjcreate/1};
row("actor_big") -> {?BIG * 20000, ?BIG * 20, 2, fun big/1};
row("actor_ask") -> {1000000, 1000, 1, fun ask/1};
row("actor_askburst") -> {1000000, 1000, 1, fun askburst/1};
row("actor_chameneos") -> {500000, 500, 4, fun chameneos/1};
row("actor_concdict") -> {?READERS * 50000, ?READERS * 50, 2, fun concdict/1};
row("actor_bank") -> {400000, 1000, 4, fun bank/1};
row("actor_bank_50k") -> {50000, 1000, 4, fun bank/1};
row("actor_bank_1m") -> {1000000, 1000, 4, fun bank/1};
row(_) -> none.

main([Name, _Threads, Reps]) ->
    case row(Name) of
        none ->
            halt(77);
        {Full, Tiny, Messages, Fun} ->
            logger:set_primary_config(level, none),
            N = case env("WEFT_BENCH_TINY") of true -> Tiny; false -> Full end,
            Warmups = case env("WEFT_BENCH_COLD") of true -> 0; false -> 1 end,
            [rep(Rep, N, Messages, Fun) || Rep <- lists:seq(-Warmups, list_to_integer(Reps) - 1)],
            halt(0)
    end.

env(Name) ->
    not lists:member(os:getenv(Name, ""), ["", "0"]).

%% In a process of its own: the next one finds no heap that has grown.
rep(Rep, N, Messages, Fun) ->
    {_, Watch} = spawn_monitor(fun() -> exit({measured, Fun(N)}) end),
    receive
        {'DOWN', Watch, process, _, {measured, {Ns, Answer}}} ->
            Rep >= 0 andalso io:format("rep - ~.4f ~b ~b~n", [Ns / (N * Messages), N, Answer]);
        {'DOWN', Watch, process, _, Why} ->
            io:format(standard_error, "weft-bench-erlang: ~P~n", [Why, 12]),
            halt(1)
    end.

%% From the start to the message of the end.
measure(Start) ->
    Begin = erlang:monotonic_time(nanosecond),
    Start(),
    receive
        {done, Answer} -> {erlang:monotonic_time(nanosecond) - Begin, Answer}
    end.

actors(N, Fun) ->
    [spawn_link(fun() -> Fun(I) end) || I <- lists:seq(0, N - 1)].

%% The end of those that would wait for ever; what they are linked to goes on.
stop(Actors) ->
    [begin unlink(A), exit(A, kill) end || A <- Actors],
    ok.

call(To, Message) ->
    Ref = make_ref(),
    To ! {call, self(), Ref, Message},
    receive
        {Ref, Answer} -> Answer
    end.

%% ---- Ping-pong, thread ring ----

pass_round(N, Count) ->
    Main = self(),
    [First | Rest] = All = actors(Count, fun(_) ->
        receive {next, Next} -> passer(Main, Next) end
    end),
    [A ! {next, B} || {A, B} <- lists:zip(All, Rest ++ [First])],
    Result = measure(fun() -> First ! {pass, 1, N - 1} end),
    stop(All),
    Result.

passer(Main, Next) ->
    receive
        {pass, Hops, 0} -> Main ! {done, Hops};
        {pass, Hops, Left} -> Next ! {pass, Hops + 1, Left - 1}
    end,
    passer(Main, Next).

%% ---- Floods ----

flood(N, Sources) ->
    Main = self(),
    [Target] = actors(1, fun(_) -> counter(Main, 0, Sources) end),
    All = actors(Sources, fun(_) ->
        receive go -> repeat(N div Sources, fun() -> Target ! go end) end,
        Target ! last
    end),
    Result = measure(fun() -> [A ! go || A <- All] end),
    stop([Target]),
    Result.

repeat(0, _) -> ok;
repeat(N, Fun) -> Fun(), repeat(N - 1, Fun).

counter(Main, Count, Ends) ->
    receive
        go -> counter(Main, Count + 1, Ends);
        last when Ends > 1 -> counter(Main, Count, Ends - 1);
        last -> Main ! {done, Count}, receive never -> ok end
    end.

fjthrput(N) ->
    Main = self(),
    Forks = actors(?FORKS, fun(_) -> fork(0) end),
    [Root] = actors(1, fun(_) ->
        receive go -> repeat(N div ?FORKS, fun() -> send_all(Forks, go) end) end,
        Main ! {done, lists:sum([call(Fork, count) || Fork <- Forks])}
    end),
    Result = measure(fun() -> Root ! go end),
    stop(Forks),
    Result.

send_all([], _) -> ok;
send_all([To | More], What) -> To ! What, send_all(More, What).

fork(Count) ->
    receive
        go -> fork(Count + 1);
        {call, From, Ref, count} -> From ! {Ref, Count}, fork(Count)
    end.

%% ---- Creation ----

fjcreate(N) ->
    Main = self(),
    Created = atomics:new(1, []),
    Newborn = fun() ->
        receive go -> ok end,
        atomics:add_get(Created, 1, 1) =:= N andalso (Main ! {done, N})
    end,
    [Maker] = actors(1, fun(_) ->
        receive go -> repeat(N, fun() -> spawn(Newborn) ! go end) end
    end),
    measure(fun() -> Maker ! go end).

%% ---- Big ----

big(N) ->
    Main = self(),
    Sum = spawn_link(fun() -> big_ends(Main, ?BIG) end),
    Big = actors(?BIG, fun(_) -> receive {all, All} -> big_idle(All, Sum) end end),
    All = list_to_tuple(Big),
    send_all(Big, {all, All}),
    {Ns, _} = measure(fun() -> [A ! {start, I, N div ?BIG} || {I, A} <- lists:enumerate(Big)] end),
    Pings = lists:sum([call(A, pings) || A <- Big]),
    stop(Big),
    {Ns, Pings}.

big_ends(Main, 0) -> Main ! {done, 0};
big_ends(Main, Left) -> receive ended -> big_ends(Main, Left - 1) end.

%% Others may ping it before it has begun.
big_idle(All, Sum) ->
    receive
        {start, Seed, Left} -> big_ping(All, Sum, Left, random_next(Seed), 0)
    end.

big_ping(All, Sum, 0, Random, Pings) ->
    Sum ! ended,
    big_loop(All, Sum, 0, Random, Pings);
big_ping(All, Sum, Left, Random, Pings) ->
    element(1 + Random rem ?BIG, All) ! {ping, self()},
    big_loop(All, Sum, Left - 1, random_next(Random), Pings).

big_loop(All, Sum, Left, Random, Pings) ->
    receive
        {ping, From} ->
            From ! pong,
            big_loop(All, Sum, Left, Random, Pings + 1);
        pong ->
            big_ping(All, Sum, Left, Random, Pings);
        {call, From, Ref, pings} ->
            From ! {Ref, Pings},
            big_loop(All, Sum, Left, Random, Pings)
    end.

%% Small integers only: those of problem.h would be large ones here.
random_next(X) -> rand:mwc59(X band 16#3ffffffffffffff bor 1).

%% ---- Calls with results ----

asked(Count) ->
    receive
        {call, From, Ref, ask} -> From ! {Ref, Count + 1};
        {ask, From} -> From ! {answer, Count + 1}
    end,
    asked(Count + 1).

ask(N) ->
    Main = self(),
    [Target] = actors(1, fun(_) -> asked(0) end),
    [Asker] = actors(1, fun(_) ->
        receive go -> ok end,
        repeat(N - 1, fun() -> call(Target, ask) end),
        Main ! {done, call(Target, ask)}
    end),
    Result = measure(fun() -> Asker ! go end),
    stop([Target]),
    Result.

askburst(N) ->
    Main = self(),
    [Target] = actors(1, fun(_) -> asked(0) end),
    [Asker] = actors(1, fun(_) ->
        receive go -> ok end,
        Main ! {done, bursts(Target, N, 0)}
    end),
    Result = measure(fun() -> Asker ! go end),
    stop([Target]),
    Result.

bursts(_, Left, Last) when Left =< 0 -> Last;
bursts(Target, Left, _) ->
    repeat(?BURST, fun() -> Target ! {ask, self()} end),
    bursts(Target, Left - ?BURST, answers(?BURST, 0)).

answers(0, Last) -> Last;
answers(Left, _) -> receive {answer, Value} -> answers(Left - 1, Value) end.

%% ---- Chameneos ----

chameneos(N) ->
    Main = self(),
    [Mall] = actors(1, fun(_) -> mall(Main, N, none, 0, 0) end),
    All = actors(?CHAMENEOS, fun(I) ->
        receive go -> Mall ! {meet, self(), I rem 3} end,
        chameneo(Mall, I rem 3, 0)
    end),
    Result = measure(fun() -> send_all(All, go) end),
    stop([Mall | All]),
    Result.

mall(Main, _, _, ?CHAMENEOS, Meetings) ->
    Main ! {done, Meetings div 2},
    receive never -> ok end;
mall(Main, Left, Waiting, Gone, Meetings) ->
    receive
        {meet, Who, _} when Left =:= 0 ->
            Who ! leave,
            mall(Main, Left, Waiting, Gone, Meetings);
        {meet, Who, _} when Waiting =:= none ->
            mall(Main, Left, Who, Gone, Meetings);
        {meet, Who, Colour} ->
            Waiting ! {meet, Who, Colour},
            mall(Main, Left - 1, none, Gone, Meetings);
        {met, Met} ->
            mall(Main, Left, Waiting, Gone + 1, Meetings + Met)
    end.

chameneo(Mall, Colour, Met) ->
    receive
        {meet, Other, Its} ->
            Now = case Its of Colour -> Colour; _ -> 3 - Colour - Its end,
            Other ! {change, Now},
            Mall ! {meet, self(), Now},
            chameneo(Mall, Now, Met + 1);
        {change, Now} ->
            Mall ! {meet, self(), Now},
            chameneo(Mall, Now, Met + 1);
        leave ->
            Mall ! {met, Met},
            chameneo(Mall, Colour, Met)
    end.

%% ---- Concurrent dictionary ----

concdict(N) ->
    Main = self(),
    [Book] = actors(1, fun(_) -> dictionary(#{}) end),
    Sum = spawn_link(fun() -> good_ones(Main, ?READERS, 0) end),
    All = actors(?READERS, fun(I) ->
        receive go -> reader(Book, Sum, N div ?READERS, random_next(I), 0) end
    end),
    Result = measure(fun() -> send_all(All, go) end),
    stop([Book]),
    Result.

good_ones(Main, 0, Sum) -> Main ! {done, Sum};
good_ones(Main, Left, Sum) -> receive {good, Good} -> good_ones(Main, Left - 1, Sum + Good) end.

dictionary(Values) ->
    receive
        {look, From, Key} ->
            From ! {found, Key, maps:get(Key rem ?DICTIONARY, Values, 0)},
            dictionary(Values);
        {write, From, Key, Value} ->
            From ! {found, Key, Value},
            dictionary(Values#{Key rem ?DICTIONARY => Value})
    end.

value_of(Key) -> Key rem ?DICTIONARY * 40503 + 1.

reader(_, Sum, 0, _, Good) ->
    Sum ! {good, Good};
reader(Book, Sum, Left, Random, Good) ->
    Key = Random bsr 20,
    case Random rem 10 of
        0 -> Book ! {write, self(), Key, value_of(Key)};
        _ -> Book ! {look, self(), Key}
    end,
    receive
        {found, Of, Value} ->
            More = case Value =:= 0 orelse Value =:= value_of(Of) of true -> 1; false -> 0 end,
            reader(Book, Sum, Left - 1, random_next(Random), Good + More)
    end.

%% ---- Bank transaction: what comes meanwhile stays in the mailbox ----

bank(N) ->
    Main = self(),
    Accounts = actors(?ACCOUNTS, fun(_) -> account(0) end),
    [Teller] = actors(1, fun(_) ->
        receive go -> ok end,
        Main ! {done, teller(list_to_tuple(Accounts), N, 0, 0, random_next(1))}
    end),
    {Ns, Answer} = measure(fun() -> Teller ! go end),
    Sum = lists:sum([call(A, balance) || A <- Accounts]),
    stop(Accounts),
    {Ns, case Sum of 0 -> Answer; _ -> 0 end}.

teller(_, 0, 0, Done, _) -> Done;
teller(Accounts, Left, Out, Done, Random) when Left > 0, Out < ?BANK_OPEN ->
    From = (Random bsr 32) rem (?ACCOUNTS div 10 * 8),
    To = From + 1 + (Random band 16#ffffffff) rem (?ACCOUNTS - 1 - From),
    element(From + 1, Accounts) ! {give, self(), element(To + 1, Accounts), Random rem 1024},
    teller(Accounts, Left - 1, Out + 1, Done, random_next(Random));
teller(Accounts, Left, Out, Done, Random) ->
    receive
        given -> teller(Accounts, Left, Out - 1, Done + 1, Random)
    end.

account(Balance) ->
    receive
        {call, From, Ref, {take, Amount}} ->
            From ! {Ref, Balance + Amount},
            account(Balance + Amount);
        {give, Teller, To, Amount} ->
            call(To, {take, Amount}),
            Teller ! given,
            account(Balance - Amount);
        {call, From, Ref, balance} ->
            From ! {Ref, Balance},
            account(Balance)
    end.
