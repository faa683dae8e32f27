//! What Python's sqlite3 finds in the real db3 files: per topic the count of messages and the CRC-32 of their stamps and bytes in order;
//! `*` for all topics together, and then without stamps.

pub(crate) const EXPECTED: &str = "
all-types/tests/test_bags/test_bag_sqlite3/test_bag_sqlite3.db3
  * 188 b310fa5c
plotjuggler/datasamples/rosbag2_test/rosbag2_test_0.db3
  /rosout 0 00000000
  /pose 1565 d01faf86
  /parameter_events 0 00000000
  /battery 1565 780e77a6
  /imu 1565 0795518d
rosbag2-fixtures/ros2bag/test/resources/empty_bag/empty_bag_0.db3
  /rosout 0 00000000
  /parameter_events 0 00000000
rosbag2-fixtures/rosbag2_cpp/test/rosbag2_cpp/bags/topics_and_services.db3
  /parameter_events 7 3b52c764
  /events/write_split 0 00000000
  /add_two_ints2/_service_event 0 00000000
  /add_two_ints/_service_event 6 d1955a4a
  /rosout 0 00000000
rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/convert_a/rewriter_a_0.db3
  a_empty 100 619b10bf
  b_basictypes 50 4881356e
rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/convert_b/rewriter_b_0.db3
  a_empty 25 62dd7c22
  c_strings 50 e2422d1a
rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/reindex_test_bags/multiple_files/multiple_files_0.db3
  /chatter 1324 969319c5
rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/reindex_test_bags/multiple_files/multiple_files_1.db3
  /chatter 1324 af8dfeba
rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/reindex_test_bags/multiple_files/multiple_files_2.db3
  /chatter 529 d95913ef
rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/talker/talker.db3
  /rosout 10 c72a8330
  /parameter_events 0 00000000
  /topic 10 892db581
rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/wbag/wbag_0.db3
  AAA 174 613f4fce
  BBB 145 50b8ab12
  CCC 157 e10f23e6
  DDD 163 48a2ab21
  EEE 147 7a85b12e
  FFF 171 7e414145
  GGG 141 1f6d2d79
  HHH 148 2d4c0c89
rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/wbag/wbag_1.db3
  HHH 141 6c966dbc
  GGG 145 94f417fa
  FFF 161 92c35b9e
  EEE 170 608fb3dd
  CCC 155 59454d85
  DDD 154 324ac0e8
  BBB 154 19126240
  AAA 160 682c8e3f
rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/wbag/wbag_2.db3
  HHH 144 9d88fc34
  GGG 135 d304fc01
  FFF 166 aa726c1c
  EEE 164 07c95901
  CCC 149 dbcdae93
  DDD 154 6d21a4da
  BBB 134 e8754d37
  AAA 194 f83af652
rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/wbag/wbag_3.db3
  HHH 142 22fc3338
  GGG 160 6fefc49c
  FFF 148 07879687
  EEE 173 69f661e1
  CCC 145 d97c5a1b
  DDD 155 3ce6f253
  BBB 171 57be00d6
  AAA 146 950a046a
rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/wbag/wbag_4.db3
  HHH 151 8d6c64f0
  GGG 150 a9c19ba0
  FFF 126 91223ebb
  EEE 150 c7b088fc
  CCC 136 78761508
  DDD 127 9cf4fe7e
  BBB 138 38bc5176
  AAA 130 433c5211
rosbag2-fixtures/rosbag2_tests/resources/sqlite3/bag_with_topics_and_service_events/bag_with_topics_and_service_events.db3
  /test_topic2 1 3fb5bbb9
  /test_topic1 1 5570ac34
  /test_service2/_service_event 4 0dd86273
  /test_service1/_service_event 4 935bf632
  /events/write_split 0 00000000
rosbag2-fixtures/rosbag2_tests/resources/sqlite3/cdr_test/cdr_test_0.db3
  /test_topic 3 27b9fc7e
  /array_topic 4 a59682af
rosbag2-fixtures/rosbag2_tests/resources/sqlite3/wrong_rmw_test/wrong_rmw_test_0.db3
  /array_topic 4 a59682af
  /test_topic 3 27b9fc7e
rosbag2-fixtures/rosbag2_transport/test/resources/sqlite3/rewriter_a/rewriter_a_0.db3
  a_empty 100 619b10bf
  b_basictypes 50 4881356e
rosbag2-fixtures/rosbag2_transport/test/resources/sqlite3/rewriter_b/rewriter_b_0.db3
  a_empty 25 62dd7c22
  c_strings 50 e2422d1a
rosbag2-fixtures/rosbag2_transport/test/resources/sqlite3/test_bag_for_seek/test_bag_for_seek_0.db3
  topic1 5 8d89bebe
";
